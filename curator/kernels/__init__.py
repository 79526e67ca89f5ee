"""Compiled loops over bytes; this room knows nothing of tasks, files or configuration.

Arrays flow in, arrays flow out. Importing the package costs nothing: numba is loaded by the modules, not here.
"""
