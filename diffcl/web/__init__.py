"""What stands between a server and whoever asks it: whole ASGI applications around another one, and their parts."""
