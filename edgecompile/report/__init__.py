"""What a build reports to people: a document (JSON), a page (HTML), a terminal summary and a drawing of the plan.

Everything here reads plain data. `document.py` makes the document that the others show.
"""
