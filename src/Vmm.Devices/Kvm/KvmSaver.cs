using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Vmm.Devices.Kvm;

/// <summary>The saves of a machine: one at a time, while its guest runs as far as this host can have that.</summary>
internal sealed class KvmSaver : IDisposable
{
    /// <summary>A guest that touches all of its memory all the time is as loose after this many passes as it gets.</summary>
    private const int LoosenPassesMax = 4;

    private static readonly TimeSpan LoosenedEnough = TimeSpan.FromMilliseconds(1);

    private readonly KvmMachine _machine;
    private readonly KvmBoard _board;
    private readonly CancellationTokenSource _ending = new();
    private readonly Lock _lock = new();
    private Task? _saving;
    private bool _isEnding;
    private FaultWatch? _watch;
    private string _whyNotLive = "";

    internal KvmSaver(KvmMachine machine, KvmBoard board)
    {
        (_machine, _board) = (machine, board);
        Changes = new KvmChanges(board, machine.Host);
    }

    /// <summary>What changed since the last of them.</summary>
    internal KvmChanges Changes { get; }

    /// <inheritdoc cref="KvmMachine.SaveAsync"/>
    internal Task<SnapshotResult> SaveAsync(string directory, SnapshotOptions options, CancellationToken cancel)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isEnding, _machine);
            _machine.ThrowIfEnded();
            if (_saving is { IsCompleted: false }) throw new InvalidOperationException("the machine is being saved already: wait for that");
            CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancel, _ending.Token);
            Task<SnapshotResult> saving = Task.Run(() =>
            {
                using (either) return Save(directory, options, either.Token);
            }, CancellationToken.None);
            _saving = saving;
            return saving;
        }
    }

    /// <summary>Does what no save goes with, after the one that is running: that reads the memory.</summary>
    internal void Exclude(Action action)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isEnding, _machine);
            WaitForEnd(_saving);
            _machine.ThrowIfEnded();
            action();
        }
    }

    private SnapshotResult Save(string directory, SnapshotOptions options, CancellationToken cancel)
    {
        long start = Stopwatch.GetTimestamp();
        (string Name, string Id)? difference = Changes.BaseOf(options, directory);
        SavedDisks? disks = options.Disks ? new SavedDisks(_machine.Host) : null;
        using SnapshotDirectory target = SnapshotDirectory.Begin(directory);
        using MemoryHold mapped = _board.Memory.Hold();
        MemoryImageWriter memory = new(target.Create(MachineSnapshot.MemoryName), _board.Memory.Regions);
        StateWriter state = new(MachineSnapshot.Version);
        byte[] id = KvmMachine.NewGeneration();
        // What can be done while the guest runs: views of its memory, which it does not have yet.
        bool isLive = options.Live && !options.Stop;
        using GuestMemory? origin = isLive && difference is null ? Changes.TryMapOrigin() : null;
        LiveMemoryCopy? live = isLive ? TryProtect(memory, isBrief: difference is not null || origin is not null) : null;
        Task copying = live?.Prepare(options.Progress, cancel) ?? Task.CompletedTask;
        bool held = false, shown = false;
        try
        {
            // As the last of that: what the guest touches is mapped again.
            Loosen(live);
            long stopped = Stopwatch.GetTimestamp();
            _machine.Hold();
            held = true;
            TimeSpan stood;
            // A guest that ended while it was brought to a stop has no next instruction.
            _machine.ThrowIfEnded();
            _machine.SaveState(state, id);
            List<SavedImage> images = SavedImage.Of(_machine.Host);
            long copied = disks?.Copy(target, images) ?? 0;
            SavedImage.Write(state, images);
            ulong[][]? only = Changes.Take(options.Base);
            if (live is null)
            {
                if (origin is not null) only = Changes.Written();
                memory.WriteAll(only, options.Progress, cancel);
                // Devices that came to rest for good meanwhile have written what is not part of the state.
                _machine.ThrowIfEnded();
                if (!options.Stop) Changes.Note(null);
            }
            else
            {
                if (only is not null) live.SaveOnly(only);
                shown = true;
                Show(live);
                live.Begin();
                live = null;
            }
            stood = Stopwatch.GetElapsedTime(stopped);
            if (!options.Stop)
            {
                _machine.Release();
                held = false;
                stood = Stopwatch.GetElapsedTime(stopped);
            }
            copying.GetAwaiter().GetResult();
            if (origin is not null && only is not null) memory.WriteRest(origin.Regions, only, options.Progress, cancel);
            _board.Memory.BeforeWrite = null;
            DescribeMemory(state.AddRecord("memory"), memory, difference);
            using MemoryStream text = new();
            state.WriteTo(text);
            MachineSnapshot.WriteState(target, text.ToArray());
            cancel.ThrowIfCancellationRequested();
            target.Commit();
            Changes.BeginAt(target.Path, id);
            if (options.Stop)
            {
                _machine.Finish(MachineEnd.Saved, $"saved to '{target.Path}'");
                // It does not go on: the run that ends stops its vCPUs where they are.
                held = false;
            }
            return new SnapshotResult(target.Path, memory.Written, stood, Stopwatch.GetElapsedTime(start), copied);
        }
        finally
        {
            _board.Memory.BeforeWrite = null;
            live?.Abandon(closeViews: !shown);
            if (held) _machine.Release();
        }
    }

    private void DescribeMemory(StateWriter saved, MemoryImageWriter memory, (string Name, string Id)? difference)
    {
        foreach (GuestRegion region in _board.Memory.Regions)
        {
            StateWriter item = saved.AddItem("regions");
            item.Add("address", region.GuestAddress);
            item.Add("length", region.Length);
        }
        saved.Add(MachineSnapshot.SumsName, memory.Sums());
        if (difference is { } to) Changes.Since(to).Write(saved);
    }

    /// <summary>
    /// Opens what lets the guest go on while it is saved. Otherwise that is done by the first save, when this process may have given up the
    /// right to.
    /// </summary>
    internal void Prepare() => _watch ??= TryOpenWatch();

    private FaultWatch? TryOpenWatch()
    {
        FaultWatch? watch = FaultWatch.TryOpen(out string refusal);
        if (watch is not null) return watch;
        _whyNotLive = refusal;
        return null;
    }

    /// <summary>Makes views of the memory, and protects them.</summary>
    /// <returns>Null if this host can't, which the log says unless the save is brief.</returns>
    private LiveMemoryCopy? TryProtect(MemoryImageWriter memory, bool isBrief)
    {
        Prepare();
        // A private view cannot be mapped twice.
        string? why = _watch is null ? _whyNotLive
            : _board.Memory.Regions.Any(region => region.IsPrivate) ? "the snapshot that it goes on from is gone"
            : _board.Memory.Regions.Any(region => region.Source.IsHuge) ? "its memory is of huge pages" : null;
        if (why is null)
        {
            return new LiveMemoryCopy(_watch!, memory, [.. _board.Memory.Regions.Select(region => (region, region.MapAgain()))]);
        }
        if (isBrief) return null;
        _machine.Host.Logging.CreateLogger<KvmMachine>().LogWarning("the guest stands still while its memory is written: {Why}", why);
        return null;
    }

    /// <summary>
    /// Has KVM drop its mappings of the memory that the guest gets anew. Several times: each pass has only what the guest has touched
    /// during the one before, and the last is short.
    /// </summary>
    private void Loosen(LiveMemoryCopy? live)
    {
        if (live is null) return;
        for (int pass = 0; pass < LoosenPassesMax; pass++)
        {
            long start = Stopwatch.GetTimestamp();
            foreach ((GuestRegion region, _) in live.Views) _board.Vm.Loosen(region);
            if (Stopwatch.GetElapsedTime(start) < LoosenedEnough) return;
        }
    }

    /// <summary>Has the guest see its memory by protected views, and devices ask before they write. It stands still.</summary>
    private void Show(LiveMemoryCopy live)
    {
        Changes.Note(live);
        _machine.Host.KeepRings(live);
        _board.Memory.BeforeWrite = live;
    }

    /// <summary>Gives up a save that is running, and waits for its end: it reads what is about to be unmapped.</summary>
    internal void End()
    {
        lock (_lock)
        {
            if (_isEnding) return;
            _isEnding = true;
        }
        _ending.Cancel();
        WaitForEnd(_saving);
        _ending.Dispose();
    }

    public void Dispose() => _watch?.Dispose();

    private static void WaitForEnd(Task? saving) =>
        saving?.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
}
