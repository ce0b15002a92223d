"""The JSON API: one router per noun. A door: it parses, calls one service, renders."""
