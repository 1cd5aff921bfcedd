"""`odctl help filters`. The domain's parser is what it describes: a test holds the two together."""

from __future__ import annotations

FILTERS = """\
A filter is terms. A space between them is "and", | is "or", ! is "not", parentheses group:

  odctl ls 'state=active rate_down<100k'
  odctl ls 'linux (state=paused | error=NETWORK,TIMEOUT) !tag=keep'
  odctl rm -f 'done age>30d' --dry-run

Quote it for the shell. The same filter works for ls, watch, every command with -f, the dashboard's / and the REST API.

Operators
  =  !=           is, is not             state=queued,active    a comma means any of these; != none of them
  <  >  <=  >=    less, more             size>=1.5GiB
  ~  !~           holds this text        name~s02e              upper or lower case, of any script
  ~/…/            regular expression     name~/s0[1-3]e\\d+/     upper or lower case; (?-i) for exactly so
  a word alone    is in the name         linux                  as name~linux

Values
  sizes      10G 1.5MiB 700k, in steps of 1024         rates       500k 2M/s
  durations  90s 2h30m 7d                              progress    50%
  ages       completed>1d: longer ago than a day; or a date, created<2026-01-31: before it (UTC)
  ''         not known: node='' has no node, error='' no error, tag='' no tags

Quotes take a value as it is: name='a, b | c'. Without them a backslash does so for one character.
What is not known is neither equal to anything nor less nor more, and ! turns that around: node!=nas and !node=nas find
jobs without a node, too; size>1G and size<=1G both leave out jobs whose size is not known.

Fields of jobs
  = != ~     name engine engine_state node user tag key error reason
             user=@me is you; error and reason are their codes, as in error=ORIGIN_GONE reason=user_limit
  = !=       state hold kind hit             a paused job has the state paused, not queued; hit=yes
  = != < >   id priority files seeders peers size done progress rate_down rate_up eta quiet
             quiet: for how long what runs has got no byte, from when that is worth telling
  < >        age created started completed   age is created; completed='' has not ended

Words that are filters (in small letters; the word itself: 'big')
  active     state=active
  queued     state=queued: as the column STATE shows it, so without paused ones
  paused     state=paused
  completed  state=completed
  done       state=completed
  failed     state=failed
  cancelled  state=cancelled
  mine       user=@me
  stalled    quiet>0 | reason=stalled,no_seeds: gets no byte now, or gave its place up for that
  problems   state=failed | reason=no_space,storage_missing,engine_down,node_offline,no_node,stalled,files_missing
  big        size>=10G

Fields of cache entries    key name engine node user pinned size hits age created last_used; mine, big
Fields of events           type job node user seq age; mine; a word alone is in the type

Sorting: fields joined with commas, ! is downwards:  odctl ls -s '!size,name'
  jobs:  id name state size done progress created started completed priority engine user attention
         (that is the order without -s: what runs, what is held or failed, what waits, what ended)
         and of what runs: rate_down rate_up eta seeders peers (the rest comes last)
  cache: key name size engine created last_used hits pinned

The names of the JSON interface are understood, too: created_at, cache_key, tags …
Bounds: 10,000 characters, 100 terms, 500 values of a term, 64 parts of text (~ and words alone), 30 levels, 5 regular
expressions of 200 characters (RE2: no look-around, no references back)."""
