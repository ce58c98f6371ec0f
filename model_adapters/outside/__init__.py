"""What files from outside may cost: they are regular and of a bounded size, and what they ask for ends."""
