"""What a worker manager decides, without clock and IO."""
