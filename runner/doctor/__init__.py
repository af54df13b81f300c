"""What `tau doctor` looks at, and what it says of each."""
