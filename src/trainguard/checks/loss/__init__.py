"""TG5xx: loss, logs, schedules."""
