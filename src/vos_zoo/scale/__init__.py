"""Many videos: lists of them, a queue, workers on devices and nodes, and where results go."""
