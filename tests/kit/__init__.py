"""What tests share: leak checks, harnesses, fakes and real clusters."""
