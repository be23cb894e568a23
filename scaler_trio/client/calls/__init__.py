"""One kind of call each: pickling what it sends, waiting for it, and unpickling what comes back."""
