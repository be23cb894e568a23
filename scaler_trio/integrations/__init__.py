"""A client in the clothes that other libraries expect; built on nothing but the public interface of ``Client``."""
