"""What Dask's workers of ours import first: they log nothing, from their start until after their end.

Why: Dask's own `silence_logs` ends with the worker, and a worker that is closed while it starts goes on.
"""

from runtime.sweep.dask_log import silence

silence()
