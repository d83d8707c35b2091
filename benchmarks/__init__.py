"""What the project claims about speed, memory and quality, as commands that end with one line of JSON."""
