using Microsoft.Extensions.Logging;

namespace Vmm.Devices.Kvm;

// What is done with a machine from outside while its guest runs: it is saved, devices come and go, it starts again.
public sealed partial class KvmMachine
{
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(20);

    /// <summary>How often is looked whether a driver that reset its device acknowledges it: for 3 s.</summary>
    private const int LooksAfterReset = 150;

    private int _isResetting;
    private long _resets;

    /// <summary>What <see cref="PrepareSaves"/> opens of the host, for a sandbox.</summary>
    public static IReadOnlyList<HostAccess> HostAccessesOfSaves { get; } = [new(HostAccessKind.Write, FaultWatch.Path)];

    /// <summary>
    /// Opens what lets the guest go on while it is saved. Otherwise that is done by the first save, when this process may have given up the
    /// right to.
    /// </summary>
    public void PrepareSaves() => _saver.Prepare();

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
        return _saver.SaveAsync(directory, options ?? new SnapshotOptions(), cancel);
    }

    /// <summary>
    /// Whether devices may come and go while it runs: its guest has ACPI tables that say where they would be. Not without ACPI, nor after a
    /// snapshot that was saved before there were such tables.
    /// </summary>
    public bool TakesDevices { get; private set; }

    /// <summary>Opens a device, adds it, and has the guest look for it: Linux finds it some milliseconds later.</summary>
    /// <param name="name">The device's name.</param>
    /// <param name="spec">The device.</param>
    /// <param name="setting">What the machine decides where the spec leaves it open.</param>
    /// <exception cref="ArgumentException">The device does not fit, or there is no place left; the message says why.</exception>
    /// <exception cref="NotSupportedException">The machine has no ACPI.</exception>
    /// <exception cref="IOException">Something can't be opened; the message says what and why.</exception>
    public HostedDevice Plug(string name, DeviceSpec spec, DeviceSetting? setting = null)
    {
        ThrowIfFixed();
        HostedDevice added = Host.Add(name, spec, (setting ?? new DeviceSetting()) with { IsAddedLater = true });
        _chips.Events.SetPresent(added.Slot, true);
        HaveGuestLook();
        return added;
    }

    /// <summary>
    /// Empties a place, and takes the device out when its driver has let go of it: it reset the device and acknowledged it again, or did
    /// not do that for 3 seconds. Linux unbinds it only by hand (<c>/sys/bus/platform/drivers/virtio-mmio/unbind</c>).
    /// </summary>
    /// <param name="hosted">The device.</param>
    /// <param name="cancel">Gives up the wait for the guest: the device stays.</param>
    /// <returns>Completes when nothing of the device is left.</returns>
    /// <exception cref="ArgumentException">The host does not have it, or is removing it already.</exception>
    /// <exception cref="NotSupportedException">The machine has no ACPI.</exception>
    public async Task UnplugAsync(HostedDevice hosted, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(hosted);
        ThrowIfFixed();
        if (!Host.Devices.Contains(hosted)) throw new ArgumentException($"device '{hosted.Device.Name}' is not part of this machine");
        int looks = hosted.Transport.HasDriver ? LooksAfterReset : 0;
        _chips.Events.SetPresent(hosted.Slot, false);
        HaveGuestLook();
        try
        {
            while (hosted.Transport.HasDriver) await Task.Delay(BetweenLooks, cancel).ConfigureAwait(false);
            // After its reset Linux still reads registers of each queue, and acknowledges the device at the end. Others may not.
            for (; looks > 0 && !hosted.Transport.IsAcknowledged; looks--) await Task.Delay(BetweenLooks, cancel).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            _chips.Events.SetPresent(hosted.Slot, true);
            HaveGuestLook();
            throw;
        }
        await Host.RemoveAsync(hosted).ConfigureAwait(false);
    }

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
        if (!_isRestored) _powerOn ??= new KvmPowerOn(_board, _chips, _processors.All);
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
        if (_powerOn is null) throw new InvalidOperationException("the machine was not prepared for resets before it ran");
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
        _chips.Events.SetPressed(true);
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

    private void StartOver(string why) => _saver.Exclude(() =>
    {
        Hold();
        try
        {
            PowerOn(_powerOn!);
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
    });

    /// <summary>Makes everything what it was before the first instruction. It stands still.</summary>
    private void PowerOn(KvmPowerOn start)
    {
        Host.ResetAsync().GetAwaiter().GetResult();
        start.RestoreChips();
        foreach (GuestRegion region in _board.Memory.Regions)
        {
            // By the memory and not by the region: it is what a save of the difference has to know.
            if (!_board.Memory.TryDiscard(region.GuestAddress, region.Length))
                throw new IOException($"the host does not take back {region.Length} bytes of guest memory");
        }
        KernelStart kernel = LoadKernel(_board.Options.Boot!);
        for (int i = 0; i < _processors.All.Count; i++) WarnOfRefused(i, start.Restore(i, _processors[i]));
        kernel.Enter(_processors[0], _board.Memory);
    }

    private void ThrowIfFixed()
    {
        if (TakesDevices) return;
        throw new NotSupportedException(_board.Options.Acpi
            ? "the guest goes on from a snapshot of an older version, which gave it no places for devices: reboot it in a new machine"
            : "without ACPI the guest of this machine looks for its devices only when it boots: give them on the command line");
    }

    private void HaveGuestLook() => _board.Line((int)MachinePorts.EventGsi).Assert();
}
