"""Known lesions planted in CT volumes."""
