"""Leaderboard rows: made from sealed runs, published, validated."""
