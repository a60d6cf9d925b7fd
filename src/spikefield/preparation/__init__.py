"""From the files a lab has to prepared sessions: read, clean the broadband, check, write."""
