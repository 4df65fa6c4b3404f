"""What people and programs are shown: pictures in words and in JSON.  Pure."""
