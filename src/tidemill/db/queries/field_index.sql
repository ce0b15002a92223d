-- The narrow copy of declared fields that lists of a large site are answered from: one row per item, one column per field,
-- and how many items have which value. What stands in braces is put together by `catalogue/field_index.py`.

-- state: what is declared of items, whether there are so many that a copy is worth its writes, and the copies that there are.
select coalesce((select fields from site), '{{}}') as fields,
       (select count(*) from (select from item where kind = 'item' limit %(least)s) few) >= %(least)s::bigint as many,
       coalesce((select json_agg(json_build_object('id', f.id, 'columns', f.columns, 'bits', f.bits, 'long', f.long,
                                                   'ready', f.ready_at is not null,
                                                   'old', f.ready_at < now() - interval '1 minute') order by f.id)
                 from field_table f), '[]') as tables;

-- lock: whether this connection may see to the copies: no other one does.
select pg_try_advisory_lock(hashtext('declared fields')) as mine;

-- free: let the next one see to them, also where the server has not noticed yet that this connection is closed.
select pg_advisory_unlock(hashtext('declared fields'));

-- patience: wait this long for a lock, and no longer: who works must not wait behind us. It is less than the second after which
-- PostgreSQL looks for a deadlock, so that it is never a writer that is broken off.
set lock_timeout = '500ms';

-- impatience: wait for locks as long as it takes.
set lock_timeout = 0;

-- note: a new copy, not yet ready.
insert into field_table (columns, long) values (%(columns)s, %(long)s) returning id;

-- ready: it has everything.
update field_table set ready_at = now(), bits = %(bits)s where id = %(id)s;

-- forget: it is no more.
delete from field_table where id = %(id)s;

-- spread: how many values a field has among some items, from all over: neighbours have come together, and are alike.
select count(distinct {value}) as different
from item i tablesample bernoulli ((select least(100, 100.0 * {most} / greatest(count(*), 1)) from item)) where i.kind = 'item';

-- longest: whether some item has a value of this field that is too long for an index.
select exists (select from item i where i.kind = 'item' and octet_length(i.metadata ->> {key}) > 1000) as found;

-- schema: where the copies are, out of the way of all else.
create schema if not exists tidemill_fields;

-- records: the copy itself.
create table {records} (item_id bigint primary key, name text collate "C" not null, {columns});

-- tally: how many items have which value, as changes that are added up.
create table {tally} (value {type}, items bigint not null);

-- keep: write what is declared of new and edited items into the copy.
create function {keep}() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into {records} (item_id, name, {names})
        select n.id, n.name, {values} from new_items n where n.kind = 'item';
    elsif tg_op = 'UPDATE' then
        insert into {records} (item_id, name, {names})
        select n.id, n.name, {values} from new_items n join old_items o on o.id = n.id
        where n.kind = 'item' and (n.name, {now}) is distinct from (o.name, {then})
        on conflict (item_id) do update set (name, {names}) = row(excluded.name, {excluded});
    else
        delete from {records} r using old_items o where r.item_id = o.id;
        return null;
    end if;
    if exists (select from new_items n where greatest(0, {lengths}) > 1000) then
        update field_table f set long = array(
            select f.long[n] from generate_subscripts(f.long, 1) n
            union select k.name from new_items n cross join lateral (values {named_lengths}) k(name, length) where k.length > 1000)
        where f.id = {id};
    end if;
    return null;
end $$;

-- count: add up what changed in the copy.
create function {count}() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        {inserted}
    elsif tg_op = 'UPDATE' then
        {updated}
    else
        {deleted}
    end if;
    return null;
end $$;

-- tally_inserted: a part of `count`.
insert into {tally} (value, items) select {column}, count(*) from new_records group by {column};

-- tally_updated: a part of `count`.
insert into {tally} (value, items)
select value, sum(n) from (select {column} as value, 1 as n from new_records union all select {column}, -1 from old_records) moved
group by value having sum(n) <> 0;

-- tally_deleted: a part of `count`.
insert into {tally} (value, items) select {column}, -count(*) from old_records group by {column};

-- on_insert: let a function follow.
create trigger {name} after insert on {table} referencing new table as {new} for each statement execute function {function}();

-- on_update: let a function follow.
create trigger {name} after update on {table} referencing old table as {old} new table as {new}
for each statement execute function {function}();

-- on_delete: let a function follow.
create trigger {name} after delete on {table} referencing old table as {old} for each statement execute function {function}();

-- bounds: the ids that there are.
select coalesce(min(id), 0) - 1 as low, coalesce(max(id), 0) as high from item;

-- copy: take a stretch of the items that there were before the copy was.
insert into {records} (item_id, name, {names})
select n.id, n.name, {values} from item n where n.kind = 'item' and n.id > {low} and n.id <= {high}
on conflict (item_id) do nothing;

-- sweep: take out items that were deleted while they were being copied.
delete from {records} r where not exists (select from item i where i.id = r.item_id);

-- index: find items by a value, without keeping anybody from writing.
create index concurrently on {records} ({column}, item_id);

-- grams: find items by letters that stand in a value, where there are too many values to look through.
create index concurrently {name} on {records} using gin (name_grams({column}));

-- fold: add up the changes of a tally.
with gone as (delete from {tally} returning value, items)
insert into {tally} (value, items) select value, sum(items) from gone group by value having sum(items) <> 0;

-- crowd: how many rows a tally has, and how many values.
select count(*) as rows, count(distinct value) as different from {tally};

-- settle: let scans skip what every transaction sees, and plans know what is there.
vacuum analyze {records};

-- drop_function: a function and the triggers that call it.
drop function if exists {function} cascade;

-- drop_table: a table of a copy.
drop table if exists {table};
