"""Fine-tuning by an adapter on a frozen, quantized base."""
