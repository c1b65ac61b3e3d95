"""What several test files share: servers, made-up cohorts and packages, and ways to break them."""
