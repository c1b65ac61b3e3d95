"""What a release could tell of a patient: found texts and ids, membership inference."""
