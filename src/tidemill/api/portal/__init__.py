"""The portal's API at `/v1`, for people who are not the site's operators and the programs that they write."""
