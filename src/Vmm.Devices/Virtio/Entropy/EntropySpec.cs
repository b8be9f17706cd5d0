namespace Vmm.Devices;

/// <summary>An entropy device as it is described: there is little to say.</summary>
public sealed record EntropySpec : DeviceSpec
{
    /// <summary>How an operator names one.</summary>
    internal static DeviceKind Kind { get; } = new()
    {
        Name = "rng",
        Syntax = "[" + LimitSpec.Syntax[2..],
        Description = "An entropy device.",
        IsSingle = true,
        IsSwitch = true,
        IsStandard = true,
        DeviceName = index => $"rng{index}",
        Parse = DeviceKind.Each(Parse),
    };

    /// <summary>How many requests, and bytes, its driver may have a second; null for no limit.</summary>
    public LimitSpec? Limit { get; set; }

    /// <summary>Reads a text, which is empty or a limit.</summary>
    /// <exception cref="DeviceSpecException">It makes no sense; the message says what does.</exception>
    public static EntropySpec Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.Length == 0 ? new EntropySpec() : new EntropySpec { Limit = LimitSpec.Parse(SpecText.Parse(text, LimitSpec.Keys)) };
    }

    /// <inheritdoc/>
    public override IEnumerable<string> Failures(string name) => Limit?.Failures(name) ?? [];

    /// <inheritdoc/>
    public override VirtioDevice Open(string name, DeviceSetting? setting = null)
    {
        if (Failures(name).FirstOrDefault() is { } failure) throw new ArgumentException(failure);
        return new EntropyDevice(name) { Limit = Limit?.Open() };
    }
}
