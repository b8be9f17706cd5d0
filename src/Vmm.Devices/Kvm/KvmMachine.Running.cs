using Microsoft.Extensions.Logging;

namespace Vmm.Devices.Kvm;

// A machine that starts again from its kernel, and one whose power button is pressed.
public sealed partial class KvmMachine
{
    private const uint TimeStampAdjust = 0x3b;

    private byte[]? _chipsAtPowerOn;
    private KvmVcpuState[] _vcpusAtPowerOn = [];
    private int _isResetting;
    private long _resets;

    /// <summary>
    /// Whether a machine that its guest resets starts again from its kernel, in the same run, with the same devices. Otherwise it ends
    /// (<see cref="MachineEnd.Reset"/>). One that goes on from a snapshot has no kernel, and ends.
    /// </summary>
    public bool StartsAgain { get; init; }

    /// <summary>How often it started again. Any thread.</summary>
    public long Resets => Interlocked.Read(ref _resets);

    /// <summary>
    /// Keeps what processors and interrupt controllers are at power-on, some kilobytes for each vCPU, so that <see cref="Reset"/> can make
    /// them that again. Before the run; <see cref="StartsAgain"/> does it by itself.
    /// </summary>
    public void PrepareResets()
    {
        if (_isRestored || _chipsAtPowerOn is not null) return;
        uint[] msrs = [.. _board.System.GetMsrIndices()
            // They go on, or the clocks of processors would differ.
            .Where(index => index is not (KvmVcpu.TimeStampCounter or TimeStampAdjust))];
        _vcpusAtPowerOn = [.. _vcpus.Select(vcpu => vcpu.Save(msrs))];
        StateWriter state = new(MachineSnapshot.Version);
        _board.Vm.SaveChips(state.AddRecord("chips"), legacy: !_board.Options.Acpi);
        ((ISavedState)_keyboard!).Save(state.AddRecord("keyboard"));
        using MemoryStream text = new();
        state.WriteTo(text);
        _chipsAtPowerOn = text.ToArray();
    }

    /// <summary>
    /// Starts the machine again from its kernel, as its reset button would: the guest has no time to write what it has in memory. Devices
    /// lose their driver and keep what they have of the host; requests in flight complete first, and a save that is running. A machine
    /// that is paused stays so. Any thread but a vCPU's or a reactor's.
    /// </summary>
    /// <exception cref="InvalidOperationException">It goes on from a snapshot, is kept after a crash, has ended, or
    /// <see cref="PrepareResets"/> was not called.</exception>
    /// <exception cref="TimeoutException">It can't be brought to stand still; it runs on.</exception>
    /// <exception cref="BootException">Its kernel is there no more: it ends.</exception>
    public void Reset()
    {
        if (_isRestored)
            throw new InvalidOperationException("the machine goes on from a snapshot and has no kernel to start again: restore it anew");
        if (_chipsAtPowerOn is null) throw new InvalidOperationException("the machine was not prepared for resets before it ran");
        if (HasCrashed) throw new InvalidOperationException("the guest crashed, and is kept for a look: stop it and start it anew");
        StartOver("the machine was reset from outside");
    }

    /// <summary>
    /// Presses the power button: a guest that heeds it shuts itself down. Linux hands it to a program that listens (systemd-logind, acpid).
    /// Any thread.
    /// </summary>
    /// <exception cref="NotSupportedException">The machine has no ACPI.</exception>
    public void PressPowerButton()
    {
        if (!_board.Options.Acpi)
            throw new NotSupportedException("a machine without ACPI has no power button: shut the guest down from inside, or stop it");
        _events.SetPressed(true);
        HaveGuestLook();
    }

    /// <summary>The guest pulls a reset line. On its vCPU's thread.</summary>
    private void GuestReset()
    {
        const string what = "the guest reset the machine: it rebooted, or its kernel panicked";
        if (!StartsAgain || _isRestored)
        {
            Finish(MachineEnd.Reset, what);
            return;
        }
        if (Interlocked.Exchange(ref _isResetting, 1) != 0) return;
        // At once, so that the guest goes no further. The reset waits for this thread, so it is made on another.
        RequestPause();
        _ = Task.Run(() =>
        {
            try
            {
                StartOver(what);
            }
            catch (Exception failed)
            {
                Finish(MachineEnd.Failed, $"{what}, and it can't start again: {failed.Message}");
            }
        });
    }

    private void StartOver(string why)
    {
        // No save begins, and the one that is running reads the memory.
        lock (_saveLock)
        {
            ObjectDisposedException.ThrowIf(_isEnding, this);
            ((Task?)_saving)?.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
            ThrowIfEnded();
            Hold();
            try
            {
                PowerOn();
                Interlocked.Increment(ref _resets);
                Host.Logging.CreateLogger<KvmMachine>().LogInformation(DeviceEvents.MachineReset, "{Why}; it starts again", why);
            }
            catch (Exception failed)
            {
                // Half of it is the machine it was: it must not run.
                Finish(MachineEnd.Failed, $"{why}, and it can't start again: {failed.Message}");
                throw;
            }
            finally
            {
                Volatile.Write(ref _isResetting, 0);
                Release();
            }
        }
    }

    /// <summary>Makes everything what it was before the first instruction. It stands still.</summary>
    private void PowerOn()
    {
        Host.ResetAsync().GetAwaiter().GetResult();
        _events.SetPressed(false);
        _events.ForgetChanges();
        StateReader state = StateReader.Parse(_chipsAtPowerOn, "power-on", MachineSnapshot.Version);
        _board.Vm.RestoreChips(state.Record("chips"), legacy: !_board.Options.Acpi);
        ((ISavedState)_keyboard!).Restore(state.Record("keyboard"));
        foreach (GuestRegion region in _board.Memory.Regions)
        {
            // By the memory and not by the region: it is what a save of the difference has to know.
            if (!_board.Memory.TryDiscard(region.GuestAddress, region.Length))
                throw new IOException($"the host does not take back {region.Length} bytes of guest memory");
        }
        KernelStart kernel = LoadKernel(_board.Options.Boot!);
        for (int i = 0; i < _vcpus.Count; i++) WarnOfRefused(i, _vcpus[i].Restore(_vcpusAtPowerOn[i]));
        kernel.Enter(_vcpus[0], _board.Memory);
    }

    private void WarnOfRefused(int index, IReadOnlyList<uint> registers)
    {
        if (registers.Count == 0) return;
        Host.Logging.CreateLogger<KvmMachine>().LogWarning("vCPU {Index}: this KVM does not take the saved values of "
            + "model-specific registers {Registers}", index, string.Join(", ", registers.Select(register => $"0x{register:x}")));
    }
}
