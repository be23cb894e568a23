"""What the object storage server decides, without IO: ``index`` takes ``events``; the rest is its parts."""
