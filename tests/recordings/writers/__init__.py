"""One synthetic writer a layout: small files with the layouts' quirks planted, and the truth that went into them."""
