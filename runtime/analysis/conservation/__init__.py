"""How well a run keeps what its equations conserve."""
