namespace Vmm.Devices.Simulation;

/// <summary>
/// What every device must survive, whatever it does: resets in every state, other features, kicks at the wrong time, missing interrupts,
/// buffers cut at every offset, broken rings. Each check makes a fresh device and runs with each kind of ring.
/// </summary>
/// <param name="make">Makes a fresh device.</param>
/// <param name="requests">Requests the device answers, at least one: what "it works" means after each ordeal.</param>
public sealed partial class DeviceBattery(Func<VirtioDevice> make, params BatteryRequest[] requests)
{
    private const ulong RingFeatures = VirtioFeatures.PackedRing | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors;

    private static readonly Dictionary<string, Action<DeviceBattery, SimulatedGuestOptions>> All = new()
    {
        ["answers"] = (battery, options) => battery.Answers(options),
        ["answers with every ring entry in use, round after round"] = (battery, options) => battery.AnswersFullRings(options),
        ["answers however the buffers are cut"] = (battery, options) => battery.AnswersCutBuffers(options),
        ["answers what was available before DRIVER_OK"] = (battery, options) => battery.AnswersEarlyRequests(options),
        ["answers a driver that only polls"] = (battery, options) => battery.AnswersWithoutInterrupts(options),
        ["answers after a reset in every state"] = (battery, options) => battery.SurvivesResets(options),
        ["answers after another driver with fewer features"] = (battery, options) => battery.SurvivesOtherFeatures(options),
        ["answers after each queue was reset alone"] = (battery, options) => battery.SurvivesQueueResets(options),
        ["goes on after a pause"] = (battery, options) => battery.GoesOnAfterPauses(options),
        ["goes on in another process"] = (battery, options) => battery.GoesOnInAnotherProcess(options),
        ["does nothing for kicks that mean nothing"] = (battery, options) => battery.IgnoresSpuriousKicks(options),
        ["asks for a reset when a ring is broken, and comes back"] = (battery, options) => battery.SurvivesBrokenRings(options),
        ["answers or asks for a reset, whatever the requests say"] = (battery, options) => battery.SurvivesNonsense(options),
        ["has a configuration that can be read and written anywhere"] = (battery, options) => battery.SurvivesConfigAccesses(options),
        ["rests when there is nothing to do"] = (battery, options) => battery.Rests(options),
    };

    /// <summary>What "it works" means.</summary>
    internal IReadOnlyList<BatteryRequest> Requests => requests;

    /// <summary>Makes a fresh device.</summary>
    internal VirtioDevice Make() => make();

    /// <summary>The names of the checks.</summary>
    public static IReadOnlyCollection<string> Checks => All.Keys;

    /// <summary>The kinds of rings: each a set of ring features a driver takes.</summary>
    public static IReadOnlyList<ulong> Rings { get; } =
        [.. Enumerable.Range(0, 8).Select(i =>
            ((i & 1) != 0 ? VirtioFeatures.PackedRing : 0) | ((i & 2) != 0 ? VirtioFeatures.EventIndex : 0) | ((i & 4) != 0
                ? VirtioFeatures.IndirectDescriptors : 0))];

    /// <summary>Every check with every ring, as rows of test data: the check's name, the ring's features.</summary>
    public static IEnumerable<(string Check, ulong Ring)> Cases => Checks.SelectMany(check => Rings.Select(ring => (check, ring)));

    /// <summary>Runs one check.</summary>
    /// <param name="check">One of <see cref="Checks"/>.</param>
    /// <param name="ring">One of <see cref="Rings"/>.</param>
    /// <exception cref="BatteryFailedException">The device did not pass.</exception>
    public void Run(string check, ulong ring)
    {
        if (requests.Length == 0) throw new ArgumentException("a battery without a request can't see whether the device works");
        try
        {
            All[check](this, new SimulatedGuestOptions { Features = ~RingFeatures | ring, MemoryBytes = 64 << 20 });
        }
        catch (Exception failure) when (failure is InvalidOperationException or InvalidDataException or TimeoutException or StateException)
        {
            throw new BatteryFailedException($"'{check}' on {Describe(ring)}: {failure.Message}");
        }
    }

    /// <summary>A ring's features in words.</summary>
    public static string Describe(ulong ring) =>
        ((ring & VirtioFeatures.PackedRing) != 0 ? "a packed ring" : "a split ring")
        + ((ring & VirtioFeatures.EventIndex) != 0 ? ", EVENT_IDX" : "")
        + ((ring & VirtioFeatures.IndirectDescriptors) != 0 ? ", indirect descriptors" : "");

    private SimulatedGuest Guest(SimulatedGuestOptions options) => SimulatedGuest.For(make(), options);

    /// <summary>Makes every request once, as it is, and looks at the answers.</summary>
    /// <exception cref="InvalidDataException">An answer is wrong.</exception>
    /// <exception cref="TimeoutException">There is none.</exception>
    internal void Exercise(SimulatedGuest guest, string when)
    {
        foreach (BatteryRequest request in requests) Exercise(guest, request, [request.Readable], [request.Writable], when);
    }

    internal static void Exercise(SimulatedGuest guest, BatteryRequest request, byte[][] readable, int[] writable, string when)
    {
        SimulatedQueue queue = guest.Queue(request.Queue);
        DriverRequest made = queue.Add([.. readable.Where(part => part.Length > 0)], [.. writable.Where(part => part > 0)]);
        guest.Kick(request.Queue).RunUntilIdle();
        request.Provoke?.Invoke(guest.Device);
        guest.RunUntil(() => made.IsUsed);
        Look(request, made, when);
        queue.Free(made);
    }

    private static void Look(BatteryRequest request, DriverRequest made, string when)
    {
        if (made.UsedLength > made.Content.Length)
            throw new InvalidDataException($"{when}: {made.UsedLength} bytes used of {made.Content.Length}");
        if (request.Complaint(made.Content, made.UsedLength) is { } complaint) throw new InvalidDataException($"{when}: {complaint}");
    }
}
