"""From a video and prompts to masks on disk: the loop around a session."""
