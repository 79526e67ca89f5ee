"""WHAT REMAINS: commits, the ledger, the quarantine, the published output and its verification."""
