"""Tests of the project as a whole: imports, citations, pages."""
