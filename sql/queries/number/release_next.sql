-- Writes a portion of a decision about the held deliveries of a number. Returns whether there was one.
select release_next_deliveries() as "was_one!"
