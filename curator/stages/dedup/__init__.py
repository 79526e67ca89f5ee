"""Stages that remove documents because another, kept one is equal or similar."""
