"""Stages that ask a language model about documents, and those that keep or remove by what was answered."""
