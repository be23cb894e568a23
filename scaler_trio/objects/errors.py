"""What goes wrong with stored objects, for the person who reads it: what, how much, which limit, and what to do."""


class ObjectStoreError(Exception):
    """The object storage could not do it: not reachable, refused, or broken off. See the two special cases below."""


class ObjectStoreFull(ObjectStoreError):
    """There is no room for the object and none came free in time; the text names limits and usage. Nothing was lost."""


class ObjectMissing(ObjectStoreError):
    """There is no such object, or no longer: it was released, or the server that held it has been restarted."""
