"""How near the generated bears are to rendered ones."""
