"""TG2xx: model, parameters, optimizer, precision."""
