using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vmm.Devices.Native;

namespace Vmm.Devices.Kvm;

// A machine that is put away, and brought back.
public sealed partial class KvmMachine
{
    private const long NanosecondsPerTick = 100;

    /// <summary>A guest that touches all of its memory all the time is as loose after this many passes as it gets.</summary>
    private const int LoosenPassesMax = 4;

    private static readonly TimeSpan LoosenedEnough = TimeSpan.FromMilliseconds(1);

    private readonly CancellationTokenSource _ending = new();
    private readonly Lock _saveLock = new();
    private Task? _saving;
    private bool _isRestored;
    private bool _isEnding;
    private FaultWatch? _watch;
    private string _whyNotLive = "";

    /// <summary>
    /// Saves the machine into a new directory, which appears whole or not at all. The guest stands still while its memory is copied, and
    /// then goes on; so it does if the save fails or is cancelled.
    /// </summary>
    /// <param name="directory">It is not there yet, and its parent is.</param>
    /// <param name="options">How; null for the default.</param>
    /// <param name="cancel">Gives it up.</param>
    /// <exception cref="InvalidOperationException">The machine has ended, or is being saved already.</exception>
    /// <exception cref="IOException">The host refuses, or has no room; the message says what.</exception>
    /// <exception cref="TimeoutException">The machine can't be brought to stand still.</exception>
    public Task<SnapshotResult> SaveAsync(string directory, SnapshotOptions? options = null, CancellationToken cancel = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        lock (_saveLock)
        {
            ObjectDisposedException.ThrowIf(_isEnding, this);
            ThrowIfEnded();
            if (_saving is { IsCompleted: false }) throw new InvalidOperationException("the machine is being saved already: wait for that");
            CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancel, _ending.Token);
            Task<SnapshotResult> saving = Task.Run(() =>
            {
                using (either) return Save(directory, options ?? new SnapshotOptions(), either.Token);
            }, CancellationToken.None);
            _saving = saving;
            return saving;
        }
    }

    /// <inheritdoc/>
    private protected override void OnStarting()
    {
        if (StartsAgain && !_isRestored) PrepareResets();
        if (!_isRestored) return;
        // The devices were restored as paused ones.
        Host.ResumeAsync().GetAwaiter().GetResult();
    }

    private SnapshotResult Save(string directory, SnapshotOptions options, CancellationToken cancel)
    {
        long start = Stopwatch.GetTimestamp();
        (string Name, string Id)? difference = BaseOf(options, directory);
        SavedDisks? disks = options.Disks ? new SavedDisks(Host) : null;
        using SnapshotDirectory target = SnapshotDirectory.Begin(directory);
        using MemoryHold mapped = _board.Memory.Hold();
        MemoryImageWriter memory = new(target.Create(MachineSnapshot.MemoryName), _board.Memory.Regions);
        StateWriter state = new(MachineSnapshot.Version);
        byte[] id = NewGeneration();
        // What can be done while the guest runs: views of its memory, which it does not have yet.
        bool isLive = options.Live && !options.Stop;
        using GuestMemory? origin = isLive && difference is null ? TryMapOrigin() : null;
        LiveMemoryCopy? live = isLive ? TryProtect(memory, isBrief: difference is not null || origin is not null) : null;
        Task copying = live?.Prepare(options.Progress, cancel) ?? Task.CompletedTask;
        bool held = false, shown = false;
        try
        {
            // As the last of that: what the guest touches is mapped again.
            Loosen(live);
            long stopped = Stopwatch.GetTimestamp();
            Hold();
            held = true;
            TimeSpan stood;
            // A guest that ended while it was brought to a stop has no next instruction.
            ThrowIfEnded();
            SaveState(state, id);
            List<SavedImage> images = SavedImage.Of(Host);
            long copied = disks?.Copy(target, images) ?? 0;
            SavedImage.Write(state, images);
            ulong[][]? only = TakeChanges(options.Base);
            if (live is null)
            {
                if (origin is not null) only = Written();
                memory.WriteAll(only, options.Progress, cancel);
                // Devices that came to rest for good meanwhile have written what is not part of the state.
                ThrowIfEnded();
                if (!options.Stop) NoteChanges(null);
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
                Release();
                held = false;
                stood = Stopwatch.GetElapsedTime(stopped);
            }
            copying.GetAwaiter().GetResult();
            if (origin is not null && only is not null) memory.WriteRest(origin.Regions, only, options.Progress, cancel);
            _board.Memory.BeforeWrite = null;
            DescribeMemory(state.AddRecord("memory"), memory, difference);
            using MemoryStream text = new();
            state.WriteTo(text);
            target.Create(MachineSnapshot.StateName, text.ToArray());
            target.Create(MachineSnapshot.SumName, System.Text.Encoding.ASCII.GetBytes(MachineSnapshot.SumOf(text.ToArray()) + "\n"));
            cancel.ThrowIfCancellationRequested();
            target.Commit();
            BeginAt(target.Path, id);
            if (options.Stop)
            {
                Finish(MachineEnd.Saved, $"saved to '{target.Path}'");
                // It does not go on: the run that ends stops its vCPUs where they are.
                held = false;
            }
            return new SnapshotResult(target.Path, memory.Written, stood, Stopwatch.GetElapsedTime(start), copied);
        }
        finally
        {
            _board.Memory.BeforeWrite = null;
            live?.Abandon(closeViews: !shown);
            if (held) Release();
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
        if (difference is { } to) new SnapshotBase(to.Name, to.Id, [.. _changed.SelectMany(pages => pages)]).Write(saved);
    }

    /// <summary>What <see cref="PrepareSaves"/> opens of the host, for a sandbox.</summary>
    public static IReadOnlyList<HostAccess> HostAccessesOfSaves { get; } = [new(HostAccessKind.Write, FaultWatch.Path)];

    /// <summary>
    /// Opens what lets the guest go on while it is saved. Otherwise that is done by the first save, when this process may have given up the
    /// right to.
    /// </summary>
    public void PrepareSaves() => _watch ??= TryOpenWatch();

    private FaultWatch? TryOpenWatch()
    {
        FaultWatch? watch = FaultWatch.TryOpen(out string refusal);
        if (watch is not null) return Own(watch);
        _whyNotLive = refusal;
        return null;
    }

    /// <summary>Makes views of the memory, and protects them.</summary>
    /// <param name="memory">Takes the pages.</param>
    /// <param name="isBrief">Whether it takes no long time without that.</param>
    /// <returns>Null if this host can't, which the log says.</returns>
    private LiveMemoryCopy? TryProtect(MemoryImageWriter memory, bool isBrief)
    {
        PrepareSaves();
        // A private view cannot be mapped twice.
        string? why = _watch is null ? _whyNotLive
            : _board.Memory.Regions.Any(region => region.IsPrivate) ? "the snapshot that it goes on from is gone"
            : _board.Memory.Regions.Any(region => region.Source.IsHuge) ? "its memory is of huge pages" : null;
        if (why is null)
        {
            return new LiveMemoryCopy(_watch!, memory, [.. _board.Memory.Regions.Select(region => (region, region.MapAgain()))]);
        }
        if (isBrief) return null;
        Host.Logging.CreateLogger<KvmMachine>().LogWarning("the guest stands still while its memory is written: {Why}", why);
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
        NoteChanges(live);
        Host.KeepRings(live);
        _board.Memory.BeforeWrite = live;
    }

    private void ThrowIfEnded()
    {
        if (Ended is { } ended) throw new InvalidOperationException($"the machine has ended: {ended.Message}");
    }

    private void SaveState(StateWriter state, byte[] id)
    {
        RegionLayout[] expected = BootLayout.RegionsOf(_board.Options.MemoryBytes);
        if (!_board.Memory.Regions.Select(region => (region.GuestAddress, region.Length))
            .SequenceEqual(expected.Select(region => (region.GuestAddress, region.Length))))
            throw new InvalidOperationException("the machine's memory is not what it began with: regions were added or removed");
        KvmVm vm = _board.Vm;
        StateWriter machine = state.AddRecord("machine");
        machine.Add(MachineSnapshot.IdName, id);
        machine.Add("vcpus", (long)_vcpus.Count);
        machine.Add("memory-bytes", (long)_board.Options.MemoryBytes);
        machine.Add("acpi", _board.Options.Acpi);
        machine.Add("saved-unix-ns", UnixNanoseconds);
        StateWriter kvm = state.AddRecord("kvm");
        kvm.Add("clock-ns", (long)_pausedClock);
        kvm.Add("tsc-khz", (long)_vcpus[0].TscKilohertz);
        vm.SaveChips(kvm.AddRecord("chips"), legacy: !_board.Options.Acpi);
        uint[] msrs = vm.System.GetMsrIndices();
        for (int i = 0; i < _vcpus.Count; i++)
        {
            StateWriter vcpu = kvm.AddItem("vcpus");
            KvmVcpuRecord.Write(vcpu, _vcpus[i].Save(msrs));
            KvmVcpuRecord.WriteCpuid(vcpu, _cpuid[i]);
        }
        Host.Save(state.AddRecord("host"));
        StateWriter chips = state.AddRecord("chips");
        foreach ((string name, ISavedState chip) in _chips)
        {
            if (chip != _events || TakesDevices) chip.Save(chips.AddRecord(name));
        }
    }

    private void GoOnFrom(MachineSnapshot snapshot)
    {
        KvmVm vm = _board.Vm;
        StateReader state = snapshot.Read();
        StateReader kvm = state.Record("kvm");
        AddChips();
        IReadOnlyList<StateReader> vcpus = kvm.Items("vcpus", KvmMachineOptions.VcpusMax);
        if (vcpus.Count != snapshot.Vcpus)
            throw kvm.Wrong("vcpus", $"has {vcpus.Count} records, and the machine has {snapshot.Vcpus} vCPUs");
        for (int i = 0; i < vcpus.Count; i++) AddVcpu(i, CheckedCpuid(vcpus[i], i));
        vm.RestoreChips(kvm.Record("chips"), legacy: !snapshot.Acpi);

        // The guest's clocks go on as if it had slept: they are set forward by the time that has passed.
        long clock = kvm.Int64("clock-ns", 0, long.MaxValue / 2);
        uint kilohertz = (uint)kvm.Int64("tsc-khz", 0, uint.MaxValue);
        long slept = Math.Clamp(UnixNanoseconds - snapshot.SavedUnixNanoseconds, 0, long.MaxValue / 4);
        // Before the processors too: one of their registers has KVM write the wall clock's time into memory by it.
        vm.SetClock((ulong)(clock + slept));
        for (int i = 0; i < vcpus.Count; i++)
        {
            KvmVcpuState vcpu = KvmVcpuRecord.Read(vcpus[i]);
            if (kilohertz > 0 && _vcpus[i].TscKilohertz != kilohertz) _vcpus[i].SetTscKilohertz(kilohertz);
            foreach (ref KvmMsrEntry msr in vcpu.Msrs.AsSpan())
            {
                if (msr.Index == KvmVcpu.TimeStampCounter) msr.Data += (ulong)((UInt128)(ulong)slept * kilohertz / 1_000_000);
            }
            WarnOfRefused(i, _vcpus[i].Restore(vcpu));
        }
        vm.SetClock((ulong)(clock + slept));
        foreach (KvmVcpu vcpu in _vcpus) vcpu.MarkPaused();

        Host.Restore(state.Record("host"));
        StateReader chips = state.Record("chips");
        foreach ((string name, ISavedState chip) in _chips)
        {
            // Older snapshots are of machines that took no devices while they ran.
            if (chip == _events && !chips.Has(name)) continue;
            chip.Restore(chips.Record(name));
            TakesDevices |= chip == _events && snapshot.Acpi;
        }
        state.Complete();
        _isRestored = true;
        if (snapshot.Id.Length > 0) _last = (snapshot.Directory, snapshot.Id);
        _changed = NoPages();
        if (!snapshot.Acpi) return;
        // It is another machine than the one that was saved, and than others that go on from there: its guest is to renew what it draws
        // random numbers from.
        _board.Memory.TryWrite(BootLayout.GenerationId, NewGeneration());
        HaveGuestLook();
    }

    /// <summary>What the guest saw of its processor, if this host can give it.</summary>
    private KvmCpuidEntry[] CheckedCpuid(StateReader vcpu, int index)
    {
        KvmCpuidEntry[] saved = KvmVcpuRecord.ReadCpuid(vcpu);
        IReadOnlyList<string> missing = CpuidFeatures.Missing(saved, GuestCpuid.For(_board.System, index, _board.Options.Vcpus));
        return missing.Count == 0 ? saved
            : throw vcpu.Wrong("cpuid", $"has what this host's processor or KVM lacks: {string.Join(", ", missing)}");
    }

    /// <summary>Gives up a save that is running, and waits for its end: it reads what is about to be unmapped.</summary>
    private void EndSave()
    {
        Task? saving;
        lock (_saveLock)
        {
            if (_isEnding) return;
            _isEnding = true;
            saving = _saving;
        }
        _ending.Cancel();
        saving?.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
        _ending.Dispose();
    }

    private static long UnixNanoseconds => (DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).Ticks * NanosecondsPerTick;
}
