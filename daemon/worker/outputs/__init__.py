"""Writes what a job gives: the adapter, the fused model, the adapter in PEFT's form."""
