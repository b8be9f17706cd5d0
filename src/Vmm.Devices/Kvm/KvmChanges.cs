namespace Vmm.Devices.Kvm;

/// <summary>What changed of a machine's memory since the snapshot before. One thread at a time.</summary>
internal sealed class KvmChanges(KvmBoard board, DeviceHost host)
{
    /// <summary>The snapshot that <see cref="_changed"/> began at; null while there is none, or while that is not known.</summary>
    private (string Directory, string Id)? _last;

    /// <summary>Pages that changed since <see cref="_last"/>, as far as it was asked for, by region.</summary>
    private ulong[][] _changed = [];

    /// <summary>Notes what is written; null as long as the machine was never saved.</summary>
    private KvmDirtyTracker? _tracker;

    internal void GoOnFrom(MachineSnapshot snapshot)
    {
        if (snapshot.Id.Length > 0) _last = (snapshot.Directory, snapshot.Id);
        _changed = NoPages();
    }

    /// <summary>What is to be written of a saved difference to another snapshot.</summary>
    internal SnapshotBase Since((string Name, string Id) other) =>
        new(other.Name, other.Id, [.. _changed.SelectMany(pages => pages)]);

    /// <summary>What a save of the difference needs to be there.</summary>
    /// <returns>Null for a whole snapshot.</returns>
    internal (string Name, string Id)? BaseOf(SnapshotOptions options, string directory)
    {
        if (options.Base is not { } given) return null;
        MachineSnapshot found = MachineSnapshot.Open(given);
        string path = FullPath(given);
        if (found.Id.Length == 0 || found.Id != _last?.Id)
            throw new InvalidOperationException($"what changed since '{given}' is not known: a machine knows what changed since "
                + (_last is { } last ? $"it was saved last, to '{last.Directory}'" : "it was saved, and this one was not yet")
                + "; save all of it");
        if (Path.GetDirectoryName(path) != Path.GetDirectoryName(FullPath(directory)))
            throw new IOException($"cannot save a difference to '{path}' as '{directory}': a difference is found beside what it is one to; "
                + "give both the same parent directory");
        if (found.Differences >= MachineSnapshot.DifferencesMax)
            throw new IOException($"'{given}' is a chain of {found.Differences} differences already, and there may be "
                + $"{MachineSnapshot.DifferencesMax}: make one of them ('vmm state merge'), or save all of the machine");
        return (Path.GetFileName(path), found.Id);

        static string FullPath(string path) => Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
    }

    /// <summary>
    /// Adds what was written until now to what changed since the last snapshot. The machine stands still.
    /// </summary>
    /// <returns>The pages that are to be saved, by region, if a difference to a snapshot is wanted; null for all.</returns>
    internal ulong[][]? Take(string? difference)
    {
        if (_tracker is not null)
        {
            // Where devices write without a chain.
            host.KeepRings(_tracker);
            for (int i = 0; i < _changed.Length; i++) _tracker.Take(board.Memory.Regions[i].GuestAddress, _changed[i]);
        }
        // One that goes on from a snapshot and was not saved since: its memory is a view of that, so that the kernel knows.
        else if (_last is not null && !TryMarkWritten(_changed))
        {
            _last = null;
        }
        if (difference is null) return null;
        return _last is not null ? _changed
            : throw new IOException($"what changed since '{difference}' is not known, as this kernel does not say it: save all of it");
    }

    /// <summary>The pages that are not as in the snapshot that the machine goes on from; null if that is not known.</summary>
    internal ulong[][]? Written()
    {
        ulong[][] pages = NoPages();
        return TryMarkWritten(pages) ? pages : null;
    }

    /// <summary>Has what is written noted from now on; the guest may get views of its memory. The machine stands still.</summary>
    internal void Note(LiveMemoryCopy? views)
    {
        if (_tracker is null)
        {
            _tracker = new KvmDirtyTracker(board.Vm, board.Memory);
            board.Memory.DirtyTracker = _tracker;
            if (_changed.Length == 0) _changed = NoPages();
        }
        if (views is not null)
        {
            foreach ((GuestRegion region, MappedMemory view) in views.Views) board.Vm.Renew(region, view);
        }
        else
        {
            foreach (GuestRegion region in board.Memory.Regions) board.Vm.Renew(region, null);
        }
    }

    /// <summary>From now on changes are counted from a snapshot that was made.</summary>
    internal void BeginAt(string directory, byte[] id)
    {
        foreach (ulong[] pages in _changed) Array.Clear(pages);
        _last = (directory, Convert.ToHexStringLower(id));
    }

    private ulong[][] NoPages() => [.. board.Memory.Regions.Select(region => DirtyPages.None(region.Length))];

    /// <summary>Adds the pages that are not as in the snapshot that the machine goes on from.</summary>
    private bool TryMarkWritten(ulong[][] pages) => pages.Index().All(each => board.Memory.Regions[each.Index].TryMarkWritten(each.Item));

    /// <summary>The memory of the snapshot that the machine goes on from, as it was; null if it cannot be had any more.</summary>
    internal GuestMemory? TryMapOrigin()
    {
        try
        {
            return board.Options.Restore?.MapMemory(BootLayout.RegionsOf(board.Options.MemoryBytes));
        }
        catch (Exception gone) when (gone is IOException or StateException)
        {
            return null;
        }
    }
}
