-- The position of a rate limit window that has no room for `more` messages, or null if all have
-- room. If several are full, the one that ends last. A limit (most) of 0 is off. A window without
-- messages has no beginning.
create or replace function full_rate_window(
    most integer[], began timestamptz[], sent integer[], lasts interval[], more integer, at timestamptz
) returns integer language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    found_at integer;
    ends_at  timestamptz;
begin
    for n in 1 .. cardinality(most) loop
        continue when most[n] = 0;
        if coalesce(at < began[n] + lasts[n], false) then
            continue when sent[n] + more <= most[n] or began[n] + lasts[n] <= ends_at;
            found_at := n;
            ends_at := began[n] + lasts[n];
        elsif more > most[n] and found_at is null then
            found_at := n;
            ends_at := at;
        end if;
    end loop;
    return found_at;
end $$;
