"""What a job leaves: the adapter, the fused model, the adapter in PEFT's form."""
