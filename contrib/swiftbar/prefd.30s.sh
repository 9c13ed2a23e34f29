#!/bin/sh
# What prefd does, in the menu bar of a Mac: a plugin of SwiftBar and of xbar, which run it every 30 seconds (so its name says).
# Put it, or a link to it, into the plugin folder. PREFD_HOME may be set here.
# <xbar.title>prefd</xbar.title>
# <xbar.desc>The job that runs, and the queue</xbar.desc>
PATH="$HOME/.local/bin:/opt/homebrew/bin:/usr/local/bin:$PATH"
export PATH

if ! status=$(prefd status 2>/dev/null); then
    echo "prefd ✕"
    echo ---
    echo "no daemon runs"
    echo "Start it | shell=prefd param1=start param2=--detach terminal=false refresh=true"
    exit 0
fi
now=$(printf '%s\n' "$status" | sed -n 's/^ *now  *//p' | head -n 1 | tr '|' '/')
echo "prefd${now:+ ▶ $now}"
echo ---
printf '%s\n' "$status" | tr '|' '/' | sed 's/$/ | font=Menlo trim=false/'
echo ---
echo "Pause the queue | shell=prefd param1=pause terminal=false refresh=true"
echo "Resume the queue | shell=prefd param1=resume terminal=false refresh=true"
echo "Show the folder | shell=prefd param1=open terminal=false"
