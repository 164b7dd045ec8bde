"""What processes say to each other: floor 1, pure. One module a conversation; ``peers`` says who may call whom."""
