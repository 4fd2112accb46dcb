"""Publishing a run on the Hub: what is sent, what must never be, and the way there."""
