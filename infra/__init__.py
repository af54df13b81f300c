"""What the installation stands on."""
