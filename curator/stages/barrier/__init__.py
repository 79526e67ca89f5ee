"""What crosses a barrier: small Arrow tables of rows, keys and removals, through files; never text."""
