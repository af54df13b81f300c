"""The code server's side: takes runs from the queue, enacts them with git and Docker, and tells what came of it."""
