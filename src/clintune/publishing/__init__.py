"""A run on its way out of the house: checked, described in a card, sent to a hub or exported."""
