"""The page docs/play.html against reference/, in node and in browsers."""
