"""TG3xx: batches, labels, tokenizer."""
